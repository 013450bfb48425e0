"""What users start: the command line in ``cli/``; the viewer and the camouflage audit will live here as well."""
