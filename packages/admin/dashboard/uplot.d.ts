// The server gives uPlot's module under this name.
export { default } from 'uplot'
