"""The report: one self-contained HTML file with the answers of a store."""
