// Puts crystals to turn in the place of static pictures, once these come into view; without WebGL the pictures stay.
const turn = place => {
  place.style.cssText = "display: flex; flex-wrap: wrap; gap: 1rem";
  for (const crystal of JSON.parse(place.dataset.crystals)) {
    const frame = document.createElement("figure");
    frame.style.cssText = "width: 17rem; margin: 0; text-align: center";
    const box = document.createElement("div");
    box.style.cssText = "position: relative; height: 14rem; cursor: grab";
    // the wheel scrolls the page
    box.addEventListener("wheel", event => event.stopPropagation(), {capture: true});
    const caption = document.createElement("figcaption");
    caption.append(crystal.title);
    for (const [element, colour] of Object.entries(crystal.colours)) {
      const ball = document.createElement("span");
      ball.style.cssText = `color: ${colour}; -webkit-text-stroke: 1px black; margin: 0 .2em 0 .8em`;
      ball.append("\u2b24");
      caption.append(ball, element);
    }
    frame.append(box, caption);
    place.append(frame);
    const viewer = $3Dmol.createViewer(box, {backgroundColor: "white"});
    const model = viewer.addModel(crystal.xyz, "xyz");
    model.setCrystMatrix(new $3Dmol.Matrix3(...crystal.columns)); // row by row; vectors of the cell are columns
    viewer.setStyle({sphere: {scale: 0.35, colorscheme: {prop: "elem", map: crystal.colours}}});
    viewer.addUnitCell(model, {box: {color: "gray"}});
    viewer.zoomTo();
    viewer.rotate(-80, "x");
    viewer.rotate(-15, "y");
    viewer.render();
  }
  place.querySelector("img").hidden = true;
};
const observer = new IntersectionObserver(entries => {
  for (const {target} of entries.filter(entry => entry.isIntersecting)) {
    observer.unobserve(target);
    turn(target);
  }
});
if (document.createElement("canvas").getContext("webgl2")) {
  for (const place of document.querySelectorAll("[data-crystals]:not([data-seen])")) {
    place.dataset.seen = ""; // by one script, however many there are
    observer.observe(place);
  }
}
