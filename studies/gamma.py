"""Table 20 as curves: what the weight γ of the distillation loss does in stage 2.

python studies/gamma.py --store results/mini.jsonl --output results/gamma.png
"""

import common

EXPERIMENTS = ("table20",)
STUDY = common.CurveStudy(__doc__, EXPERIMENTS, "results/gamma.png")
measured, paper, figure, main = STUDY.measured, STUDY.paper, STUDY.figure, STUDY.main

if __name__ == "__main__":
    main()
