"""All numerical work. Nothing below this package imports AiiDA."""
