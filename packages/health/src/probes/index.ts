import type { ProbeKind } from './contract.ts'
import { exec, type ExecProbeOptions } from './exec.ts'
import { function as custom, type FunctionProbeOptions } from './function.ts'
import { grpc, type GrpcProbeOptions } from './grpc.ts'
import { http, type HttpProbeOptions } from './http.ts'
import { ping } from './ping.ts'
import { tcp, type TcpProbeOptions } from './tcp.ts'

/** Every kind of check. */
export const probes: {
  readonly http: ProbeKind<HttpProbeOptions>
  readonly tcp: ProbeKind<TcpProbeOptions>
  readonly ping: ProbeKind<Record<string, never>>
  readonly grpc: ProbeKind<GrpcProbeOptions>
  readonly exec: ProbeKind<ExecProbeOptions>
  readonly function: ProbeKind<FunctionProbeOptions>
} = { http, tcp, ping, grpc, exec, function: custom }

export type ProbeType = keyof typeof probes

/** `type` and what belongs to it. Without a `type` it is `http` where a `path` is given, else `tcp`. */
export type ProbeOptions =
  | ({ readonly type?: 'http'; readonly path: string } & HttpProbeOptions)
  | ({ readonly type: 'http' } & HttpProbeOptions)
  | ({ readonly type?: 'tcp' } & TcpProbeOptions)
  | { readonly type: 'ping' }
  | ({ readonly type: 'grpc' } & GrpcProbeOptions)
  | ({ readonly type: 'exec' } & ExecProbeOptions)
  | ({ readonly type: 'function' } & FunctionProbeOptions)

export type { CheckFunction, CheckVerdict, FunctionProbeOptions } from './function.ts'
export type { ExecProbeOptions, GrpcProbeOptions, HttpProbeOptions, TcpProbeOptions }
export type { Probe, ProbeKind, ProbeResult, ProbeTarget } from './contract.ts'
