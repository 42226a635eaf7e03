//! Class handlers, with feature `class`: modules that say what the Ingresses of another controller's dialect mean.
//!
//! A handler is a function. It is called for one host at a time, with all Ingresses of the class on it. It returns routes and
//! policies, and a verdict on every annotation of the dialect. It must depend on its input alone: the gateway caches outputs.
//!
//! ```
//! use plugin_sdk::class::AnnotationVerdict;
//! use plugin_sdk::class::ClassInput;
//! use plugin_sdk::class::ClassOutput;
//!
//! const BODY_SIZE: &str = "example.com/body-size";
//!
//! fn translate(input: &ClassInput) -> ClassOutput {
//!     let mut output = ClassOutput::default();
//!     for ingress in input.ingresses() {
//!         let rules = ingress.paths().map(|path| path.rule()).collect();
//!         output.route(ingress, rules, &[]);
//!         let Some(size) = ingress.annotation(BODY_SIZE) else { continue };
//!         match size.parse() {
//!             Ok(size) => {
//!                 let spec = api::RoutePolicySpec { body_size: Some(size), ..Default::default() };
//!                 output.policy(ingress, spec, &[BODY_SIZE]);
//!                 output.result(ingress, BODY_SIZE, AnnotationVerdict::Exact, "");
//!             }
//!             Err(_) => {
//!                 output.result(ingress, BODY_SIZE, AnnotationVerdict::Refused, "not a size such as 10Mi");
//!             }
//!         }
//!     }
//!     output
//! }
//!
//! plugin_sdk::class_handler!(translate);
//! ```

#[cfg(all(feature = "test", not(target_arch = "wasm32")))]
mod cases;

pub use api::class_handler::*;

#[cfg(all(feature = "test", not(target_arch = "wasm32")))]
pub use self::cases::run_cases;

/// Types of the gateway's own kinds, for what a handler emits.
pub use api;

/// Reads the input from standard input, and writes the output of the handler to standard output.
#[cfg(target_arch = "wasm32")]
pub fn run(translate: fn(&ClassInput) -> ClassOutput) {
    use std::io;
    use std::io::Write as _;

    let fail = |what: &str, error: &dyn std::fmt::Display| -> ! {
        let _ = writeln!(io::stderr(), "{what}: {error}");
        std::process::exit(1);
    };
    let mut text = Vec::new();
    if let Err(error) = io::Read::read_to_end(&mut io::stdin(), &mut text) {
        fail("standard input", &error);
    }
    let input: ClassInput = match serde_json::from_slice(&text) {
        Ok(input) => input,
        Err(error) => fail("the input is no ResourceList of a class", &error),
    };
    let output = match serde_json::to_vec(&translate(&input)) {
        Ok(output) => output,
        Err(error) => fail("the output", &error),
    };
    let mut stdout = io::stdout();
    if let Err(error) = stdout.write_all(&output).and_then(|()| stdout.flush()) {
        fail("standard output", &error);
    }
}
