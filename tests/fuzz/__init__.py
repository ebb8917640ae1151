"""Entry points for coverage-guided fuzzing, one per module; the first line of each is its invariant.

    make fuzz                                     every target, for the time that SECONDS gives
    python -m tests.fuzz chunks --seconds 600     one of them
    python -m tests.fuzz chunks --replay FILE     one input again, without the fuzzer

An entry point is a plain function of bytes that raises when its invariant does not hold. The engine is atheris
(libFuzzer); it starts from the bytes of `tests/corpus`. What it finds is written to `.fuzz/TARGET/` and belongs into
the corpus as a case once it is understood.
"""
