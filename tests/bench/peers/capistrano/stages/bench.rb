JOB["hosts"].each { |host| server host, roles: %w[app] }
