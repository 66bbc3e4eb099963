variable "name" {
  description = "Name of the task family and its container, and prefix of its roles."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,27}$", var.name))
    error_message = "A name of at most 28 lower case letters, digits and hyphens that begins with a letter."
  }
}

variable "image" {
  description = "Image with its tag or digest."
  type        = string

  validation {
    condition     = can(regex("[:@][^/]+$", var.image)) && !endswith(var.image, ":latest")
    error_message = "An image with a tag or digest of its own; \"latest\" cannot be rolled back."
  }
}

variable "image_repository_arn" {
  description = "ECR repository that the image is pulled from."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:ecr:[a-z0-9-]+:[0-9]{12}:repository/[^*]+$", var.image_repository_arn))
    error_message = "The ARN of one ECR repository."
  }
}

variable "vpc_id" {
  description = "The VPC of the task's security group."
  type        = string
}

variable "architecture" {
  description = "ARM64 or X86_64: what the image was built for."
  type        = string
  default     = "ARM64"

  validation {
    condition     = contains(["ARM64", "X86_64"], var.architecture)
    error_message = "ARM64 or X86_64."
  }
}

variable "cpu" {
  description = "CPU units of the task; 1024 are one vCPU."
  type        = number

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "A size that Fargate has: 256, 512, 1024, 2048, 4096, 8192 or 16384."
  }
}

variable "memory" {
  description = "MiB of the task."
  type        = number

  validation {
    condition     = var.memory >= 512 && var.memory % 512 == 0
    error_message = "512 MiB or a multiple; Fargate says which go with which cpu."
  }
}

variable "ports" {
  description = "What the container listens on, by name."
  type        = map(number)

  validation {
    condition     = alltrue([for port in values(var.ports) : port > 1023 && port < 65536])
    error_message = "Ports from 1024 on: the container is not root."
  }
}

variable "environment" {
  description = "The container's variables. No secrets: they can be read in the console."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Variables whose value is a secret: ARN in Secrets Manager by variable."
  type        = map(string)
  default     = {}
}

variable "permissions" {
  description = "What the program itself may do in AWS, by a name for each statement."
  type = map(object({
    actions   = list(string)
    resources = list(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for one in values(var.permissions) : alltrue([for action in one.actions : !strcontains(action, "*")])])
    error_message = "Name each action: no action may hold a *."
  }
}

variable "health_url" {
  description = "What the container must answer with 2xx, asked from inside of it."
  type        = string
}

variable "stop_timeout" {
  description = "Seconds between SIGTERM and SIGKILL; Fargate allows up to 120."
  type        = number
  default     = 120

  validation {
    condition     = var.stop_timeout >= 10 && var.stop_timeout <= 120
    error_message = "10 to 120 seconds."
  }
}

variable "user" {
  description = "Whom the container runs as, never root."
  type        = string
  default     = "1000:1000"

  validation {
    condition     = !can(regex("^(0|root)(:|$)", var.user))
    error_message = "Not root."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "A number of days that CloudWatch Logs has, as in 7, 30 or 365."
  }
}
