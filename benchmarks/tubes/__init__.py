"""Do class tubes lie on what makes the class, on the networks of the zoo?

*Share*: of two movers of different classes in one clip, the mass in the explained one's mask over the mass in both
(chance 0.5). *Energy*: the mass in the mask of what makes the class over the mask's share of the clip (chance 1).
*Pointing*: whether the strongest place lies in the mask.
"""
