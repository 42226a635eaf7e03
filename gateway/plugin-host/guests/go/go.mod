module wasm-gateway.dev/guest

go 1.24
