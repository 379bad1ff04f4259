"""The web application: scans dropped on a page, results seen, corrected and sent on."""
