set :application, "shop"
set :repo_url, JOB["repo"]
set :branch, JOB["commit"]
set :deploy_to, JOB["at"]
set :linked_files, [".env"]
set :linked_dirs, ["uploads"]
set :keep_releases, 5
set :format, :simpletext
set :ssh_options, config: [JOB["ssh_config"]]

# What Capistrano has no task of its own for.
namespace :shop do
  task(:lock) { on(roles(:app)) { execute :mkdir, deploy_path.join("lock") } }
  task(:build) { on(roles(:app)) { within(release_path) { execute :sleep, JOB["build"] } } }
  task(:migrate) { on(primary(:app)) { execute "echo #{JOB['commit']} >>#{deploy_path.join('migrated')}" } }
  task(:reload) { on(roles(:app)) { execute :sleep, JOB["reload"] } }
  task(:health) { on(roles(:app)) { execute "[ -f #{current_path}/dist/main.js ]" } }
  task(:unlock) { on(roles(:app)) { execute :rm, "-r", deploy_path.join("lock") } }
end

after "deploy:started", "shop:lock"
after "deploy:updated", "shop:build"
after "shop:build", "shop:migrate"
after "deploy:published", "shop:reload"
after "shop:reload", "shop:health"
after "deploy:finished", "shop:unlock"
