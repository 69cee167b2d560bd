"""Making counterfactual pairs of photographs: control signals, diffusion, a judge, and the run that makes a set."""
