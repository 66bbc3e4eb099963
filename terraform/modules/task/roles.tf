# Two roles: what ECS needs to start the task, and what the program itself may do.

locals {
  # ECS tasks of this account and region, and nobody whom another account talked into it.
  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EcsTasks"
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account}:*" }
      }
    }]
  })

  starting = merge(
    {
      # The one action here that has no resource to name.
      Login = { actions = ["ecr:GetAuthorizationToken"], resources = ["*"] }
      Pull = {
        actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        resources = [var.image_repository_arn]
      }
      Log = {
        actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        resources = ["${aws_cloudwatch_log_group.this.arn}:log-stream:task/*"]
      }
    },
    length(var.secrets) == 0 ? {} : {
      Secrets = { actions = ["secretsmanager:GetSecretValue"], resources = values(var.secrets) }
    }
  )
}

resource "aws_iam_role" "execution" {
  name_prefix        = "${var.name}-start-"
  description        = "What ECS needs to start ${var.name}"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "execution" {
  name = "start"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for sid, one in local.starting : { Sid = sid, Effect = "Allow", Action = one.actions, Resource = one.resources }
    ]
  })
}

resource "aws_iam_role" "task" {
  name_prefix        = "${var.name}-run-"
  description        = "What ${var.name} itself may do"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "task" {
  for_each = length(var.permissions) == 0 ? toset([]) : toset(["run"])

  name = each.key
  role = aws_iam_role.task.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for sid, one in var.permissions : { Sid = sid, Effect = "Allow", Action = one.actions, Resource = one.resources }
    ]
  })
}
