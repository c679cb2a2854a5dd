"""Experiments that anybody can repeat: arms x seeds as configurations, run side by side, judged by bars that were fixed before."""
