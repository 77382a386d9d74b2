"""The spine, a chapter a file: enqueue, claim, settle, rescue, manage."""
