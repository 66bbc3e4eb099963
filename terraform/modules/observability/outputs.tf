output "alarms" {
  description = "What each alarm watches, by name."
  value = {
    for name, alarm in aws_cloudwatch_metric_alarm.this : name => {
      metric    = "${alarm.namespace} ${alarm.metric_name}"
      when      = "${alarm.comparison_operator} ${alarm.threshold}"
      dimension = alarm.dimensions
    }
  }
}

output "filters" {
  description = "Which log lines are counted, by metric."
  value       = { for name, filter in aws_cloudwatch_log_metric_filter.this : name => filter.pattern }
}

output "dashboard" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
