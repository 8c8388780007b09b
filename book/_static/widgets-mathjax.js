// The widget runtime sets its labels through the interface of MathJax 2; hand that on to MathJax 3.
// Both load before the widgets are drawn, which is when the window has loaded.
document.addEventListener("DOMContentLoaded", () => {
  if (!window.MathJax || MathJax.Hub) return;
  MathJax.Hub = { Queue: ([, , element]) => MathJax.startup.promise.then(() => MathJax.typesetPromise([element])) };
});
