"""The floor of the database: connections, dialects, schema, migrations, and lists."""
