"""Why do VAEs disentangle? Executable companion of "Unpicking Data at the Seams".

The modules follow the paper: `derivatives` (Eq. 6), `geometry` (singular-vector paths and seams),
`metrics` (Appendix E), `linear` (Eq. 2-4), `vae` (Eq. 1). Import the one you need.
"""

__version__ = "0.1.0"
