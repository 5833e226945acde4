"""Long-running checks, each a command and a short pytest version.

python -m tests.robustness.mutate --count 100000
python -m tests.robustness.differential --count 2000
python -m tests.robustness.threads
python -m tests.robustness.leaks
"""
