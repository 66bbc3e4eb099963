output "definition_arn" {
  description = "The task definition, with its revision. A task can start once its roles hold their policies."
  value       = aws_ecs_task_definition.this.arn
  depends_on  = [aws_iam_role_policy.execution, aws_iam_role_policy.task]
}

output "security_group_id" {
  description = "Security group of the tasks."
  value       = aws_security_group.this.id
}

output "log_group" {
  description = "Name of the log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "container" {
  description = "The container as it is defined, for checks."
  value       = jsondecode(aws_ecs_task_definition.this.container_definitions)[0]
}

output "policies" {
  description = "Policies of the two roles, for checks: `start` is what ECS may do, `run` what the program may."
  value = merge(
    { start = jsondecode(aws_iam_role_policy.execution.policy) },
    { for name, policy in aws_iam_role_policy.task : name => jsondecode(policy.policy) }
  )
}
