"""Results, bundles and machines for people: tables, drawings, pages."""
