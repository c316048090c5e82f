"""The child that trains: one process for each running job, the only importer of peft."""
