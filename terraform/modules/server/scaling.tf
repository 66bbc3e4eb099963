# As many tasks as sessions need. One that is stopped hands its sessions over first.

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${var.cluster.name}/${aws_ecs_service.this.name}"
  min_capacity       = var.tasks.min
  max_capacity       = var.tasks.max
}

resource "aws_appautoscaling_policy" "sessions" {
  name               = "${local.name}-sessions"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.sessions_per_task
    scale_out_cooldown = 60
    scale_in_cooldown  = 300

    # Each task reports its own number, so that the average is sessions per task.
    customized_metric_specification {
      namespace   = "McpAffinity"
      metric_name = "ActiveSessions"
      statistic   = "Average"

      dimensions {
        name  = "Service"
        value = aws_ecs_service.this.name
      }
    }
  }
}
