"""The paper: its figures and statements, what notebooks run and find, and the verdicts."""
