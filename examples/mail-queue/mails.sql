CREATE TABLE IF NOT EXISTS email_tasks (
  id integer PRIMARY KEY AUTOINCREMENT,
  task_type varchar(50) NOT NULL,
  task_params text,
  status smallint DEFAULT 0,
  schedule_time text NOT NULL DEFAULT (datetime('now')),
  start_time text,
  end_time text,
  retry_count integer DEFAULT 0,
  max_retries integer DEFAULT 3,
  error_msg text,
  server_id varchar(50) DEFAULT '',
  created_at text DEFAULT (datetime('now')),
  updated_at text DEFAULT (datetime('now'))
);

INSERT INTO queue_configs (queue_name, table_name, max_workers, scan_interval)
VALUES ('email_queue', 'email_tasks', 10, 2);

INSERT INTO email_tasks (task_type, task_params) VALUES
  ('email', '{"to": ["ada@example.com"], "subject": "Hello", "content": "<h1>Hi Ada</h1>", "type": "html"}'),
  ('email', '{"to": ["nobody"], "subject": "Hello?", "content": "Is there anybody?"}');

INSERT INTO email_tasks (task_type, task_params, schedule_time, max_retries)
VALUES ('email', '{"to": ["grace@example.com"], "subject": "Later", "content": "As you asked."}',
        datetime('now', '+5 seconds'), 0);
