"""The method: a library of the paper's equations and algorithms, imported by the stages."""
