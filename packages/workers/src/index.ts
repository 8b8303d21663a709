export { Colleagues, type Gathered, type Handler, NobodyError } from './colleagues.ts'
export { joinWorkers, type Member, type WorkerChecks } from './member.ts'
export { Supervisor, type SupervisorLog, type SupervisorOptions, WorkerStartError } from './supervisor.ts'
