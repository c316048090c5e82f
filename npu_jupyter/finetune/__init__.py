"""Fine-tuning: jobs that outlive what happens to them, and end in a model that answers."""
