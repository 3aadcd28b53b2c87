"""The fleet as it is: looked at, asked, touched by hand."""
