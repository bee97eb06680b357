"""Load generators and simulated peers. None of this is part of the product; all of it checks the product.

`python -m load_tests NAME …` runs one load test, `python -m load_tests.camera_farm …` the simulated cameras.
"""
