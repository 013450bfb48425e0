"""The report: one HTML file that opens offline and says what was reconstructed, what was not, and how sure it is."""
