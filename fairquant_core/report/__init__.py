"""The report for an ethics board: one set of facts as HTML, PDF, label, checklist and JSON."""
