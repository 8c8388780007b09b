// The handle of a widget's slider has a role but no name, and says its position rather than the value shown:
// give it the text of its label and of its readout.
(() => {
  const set = (element, key, value) => {
    if (value && element.getAttribute(key) !== value) element.setAttribute(key, value);
  };
  const describe = () => {
    for (const box of document.querySelectorAll(".widget-inline-hbox:has(.noUi-handle)")) {
      const handle = box.querySelector(".noUi-handle");
      set(handle, "aria-label", box.querySelector(".widget-label")?.textContent.trim());
      set(handle, "aria-valuetext", box.querySelector(".widget-readout")?.textContent.trim());
    }
  };
  new MutationObserver(describe).observe(document, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["aria-valuetext"],
  });
})();
