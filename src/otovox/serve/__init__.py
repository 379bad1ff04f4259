"""The web application: upload scans, view and correct results, send them to other systems."""
