"""The paper's tables as data: rows of RunSpecs."""
