"""The real data sets as a table that is light to import: what each holds, how it is used, where to get it."""

from dataclasses import dataclass

from sakbench import plugins
from sakbench.errors import unknown

Size = tuple[int, int]  # height, width

_VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person"
    " pottedplant sheep sofa train tvmonitor"
)
_NYU40 = (
    "wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk shelves curtain dresser"
    " pillow mirror floor-mat clothes ceiling books refrigerator television paper towel shower-curtain box whiteboard"
    " person night-stand toilet sink lamp bathtub bag other-structure other-furniture other-prop"
)
PARTS = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg")  # of a person: parsing


@dataclass(frozen=True)
class DataSet:
    """A data set as the paper uses it.

    `tasks` are in the order of the paper's tables; `size` is the network's input; `image_sizes` are the sizes of the
    images in the copy that the paper's numbers come from, empty where they vary; `max_dist` is odsF's tolerance as a
    share of the image's diagonal, 0 where boundaries are not scored; `folders` are names under which copies circulate.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    classes: tuple[str, ...]  # of semseg
    images: dict[str, int]  # by split
    size: Size
    image_sizes: tuple[Size, ...]
    max_dist: float
    folders: tuple[str, ...]
    source: str
    citation: str
    licence: str
    test_size: Size | None = None  # of the network's input in evaluation, where that is another

    @property
    def tested_size(self) -> Size:
        """The size of the network's input in evaluation."""
        return self.test_size or self.size


CATALOGUE = {
    dataset.name: dataset
    for dataset in (
        DataSet(
            name="pascal-context",
            title="PASCAL-Context",
            tasks=("semseg", "parsing", "saliency", "normals", "boundary"),
            classes=tuple(_VOC.split()),
            images={"train": 4998, "test": 5105},
            size=(512, 512),
            image_sizes=(),
            max_dist=0.0075,
            folders=("PASCALContext", "PASCAL_MT"),
            source="PASCALContext.tar.gz, linked from https://github.com/prismformore/Multi-Task-Transformer"
            " (first at https://data.vision.ee.ethz.ch/brdavid/atrc/PASCALContext.tar.gz)",
            citation="Mottaghi et al., CVPR 2014; parts: Chen et al., CVPR 2014; saliency and normals: Maninis et al.,"
            " CVPR 2019",
            licence="images of PASCAL VOC 2010 under Flickr's terms of use; labels for research",
        ),
        DataSet(
            name="nyud-v2",
            title="NYUD-v2",
            tasks=("semseg", "depth", "normals", "boundary"),
            classes=tuple(_NYU40.split()),
            images={"train": 795, "test": 654},
            size=(448, 576),
            image_sizes=((425, 560),),
            max_dist=0.011,
            folders=("NYUDv2", "NYUD_MT"),
            source="NYUDv2.tar.gz, linked from https://github.com/prismformore/Multi-Task-Transformer"
            " (first at https://data.vision.ee.ethz.ch/brdavid/atrc/NYUDv2.tar.gz)",
            citation="Silberman et al., ECCV 2012",
            licence="for research; no licence is stated by its authors",
        ),
        DataSet(
            name="nyu-depth",
            title="NYUd",
            tasks=("depth",),
            classes=(),
            images={"train": 24_231, "test": 654},
            size=(416, 544),
            image_sizes=((480, 640),),
            max_dist=0.0,
            folders=("nyu", "nyu_depth_v2"),
            source="the copy of BTS with nyu_train.txt and nyu_test.txt, as linked from"
            " https://github.com/zhyever/Monocular-Depth-Estimation-Toolbox",
            citation="Silberman et al., ECCV 2012; split: Eigen et al., NIPS 2014",
            licence="for research; no licence is stated by its authors",
            test_size=(480, 640),
        ),
        DataSet(
            name="imagenet-1k",
            title="ImageNet-1k",
            tasks=(),
            classes=(),
            images={"train": 1_281_167, "test": 50_000},
            size=(384, 384),
            image_sizes=(),
            max_dist=0.0,
            folders=("imagenet-1k", "imagenet", "ImageNet", "ILSVRC2012"),
            source="ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, after registration at https://image-net.org",
            citation="Russakovsky et al., IJCV 2015",
            licence="for non-commercial research and education, under image-net.org's terms of access",
        ),
    )
}
SPLITS = ("train", "test")


def get(name: str) -> DataSet:
    """The data set of that name; raises UserError for an unknown one."""
    plugins.load()
    if name not in CATALOGUE:
        raise unknown("data set", name, CATALOGUE)
    return CATALOGUE[name]


def how_to_get(dataset: DataSet) -> str:
    """The end of a sentence: what to get and where it goes."""
    return f"get {dataset.source}, and unpack it to {dataset.folders[0]}/ there"
