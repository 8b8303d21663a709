// Runs one of the workspace's tools after making sure that it is installed: node tools/run.mjs oxlint --fix
import { install, run, tool } from './setup.mjs'

const [name, ...args] = process.argv.slice(2)
install()
run(tool(name), args, { stdio: 'inherit' })
