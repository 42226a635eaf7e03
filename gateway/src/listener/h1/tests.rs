//! How much memory an idle client costs.

use super::*;
