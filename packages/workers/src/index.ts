export { joinWorkers, type Member, type WorkerChecks } from './member.ts'
export { Supervisor, type SupervisorLog, type SupervisorOptions, WorkerStartError } from './supervisor.ts'
