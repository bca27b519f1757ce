"""The exercises of each lesson: a solution, the inputs on which answers are compared, and the known mistakes."""
