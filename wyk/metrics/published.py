"""Table 1 as published, and what the set is called that it compares with."""

TEST = "test set"
# Table 1 as published, in the units of `table1.ROWS`: the first two of MP-20 binary & ternary, the last of MP-20.
PAPER = {
    "WyckoffTransformer": {
        "formal_validity": 97, "novelty": 89, "charge_neutrality_smact14": 79, "sites_ks": 0.052,
        "elements_ks": 0.030, "dof_ks": 0.056, "p1": 1, "space_group_chi2": 0.063, "elements_chi2": 0.019,
        "sun": 38.7,
    },
    "WyCryst": {
        "formal_validity": 72, "novelty": 53, "charge_neutrality_smact14": 76, "sites_ks": 0.287,
        "elements_ks": 0.002, "dof_ks": 0.282, "p1": 5, "space_group_chi2": 0.82, "elements_chi2": 0.140,
        "sun": 36.7,
    },
    "DiffCSP, MP-20": {
        "novelty": 90, "charge_neutrality_smact14": 81, "sites_ks": 0.415, "elements_ks": 0.163,
        "dof_ks": 0.407, "p1": 37, "space_group_chi2": 7.95, "elements_chi2": 0.100, "sun": 57.4,
    },
}  # fmt: skip
