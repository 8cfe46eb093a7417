"""One test_<module>.py a module, plus what crosses modules. Each test's docstring is a claim."""
