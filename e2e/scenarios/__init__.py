"""What users see, tried on the box by `e2e/box scenarios`: a file is a theme, a test's docstring says what is seen."""
