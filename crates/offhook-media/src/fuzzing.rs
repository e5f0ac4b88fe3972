//! Bodies of the fuzz targets; a unit test runs them too.
