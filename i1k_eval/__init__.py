"""The accuracy of a bundle on a data set, and of the original beside it."""
