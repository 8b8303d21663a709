import { NativeTransport } from '../../src/index.ts'
import { conformance } from './suite.ts'

conformance({ name: 'native', create: (target, options, clock) => new NativeTransport(target, options, clock) })
