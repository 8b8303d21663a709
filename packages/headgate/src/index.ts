export { default as balancer } from '@headgate/balancer'
export type * from '@headgate/balancer'
export { serve } from './serve.ts'
export { UsageError, type LogLevel, type ServeOptions } from './options.ts'
