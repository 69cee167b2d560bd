"""sakbench: what is a vision foundation model good and bad at, and can a student keep all of its teachers' strengths?"""

__version__ = "0.1.0"
